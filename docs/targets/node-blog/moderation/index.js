// Whether a comment may stay. It remembers nothing.
const { serve, post } = require('../web');

serve(process.env.PORT || 4003, {
  'POST /events': async ({ body: { type, data } }) => {
    if (type === 'CommentCreated') {
      const status = data.content.includes('orange') ? 'rejected' : 'approved';
      await post('http://localhost:4005/events', { type: 'CommentModerated', data: { ...data, status } });
    }
    return [200, {}];
  },
});
